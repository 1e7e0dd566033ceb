from mmt.cli.translate import predict_command as predict_command
