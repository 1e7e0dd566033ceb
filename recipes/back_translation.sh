#!/usr/bin/env bash
# Back-translation of Multi30K's German captions, an en-de model of them and its score on test_2016_flickr:
#     MULTI30K=FOLDER bash recipes/back_translation.sh OUT
# FOLDER has tok/, raw/, image_splits/ and captions_de/. The same command resumes wherever it was interrupted.
set -euo pipefail
. "$(dirname "$0")/steps.sh"

step data_en_de task1 data/multi30k_en_de_tok en de
step data_de_en task1 data/multi30k_de_en_tok de en
step captions mmt prepare monolingual data/captions_de_tok --multi30k "$MULTI30K" --language de --no-images --moses --full-stop
step train_de_en mmt train runs/best_de_en_none --config-file "$recipes/configs/best_de_en_none.yaml"
step back_translate mmt prepare translated data/captions_en_de_tok data/captions_de_tok --model runs/best_de_en_none/model \
    --back --tag "<bt>" --no-copies --no-loops --max-ratio 2
step train_en_de mmt train runs/best_en_de_bt --config-file "$recipes/configs/best_en_de_bt.yaml"
step score mmt evaluate result runs/best_en_de_bt/model data/multi30k_en_de_tok test_2016_flickr best_en_de_bt
seconds data_en_de data_de_en captions train_de_en back_translate train_en_de score
