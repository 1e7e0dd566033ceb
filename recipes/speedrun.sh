#!/usr/bin/env bash
# From Multi30K's text to the best en-de model and its score on test_2016_flickr:
#     MULTI30K=FOLDER bash recipes/speedrun.sh OUT
# FOLDER has tok/, raw/, image_splits/ and captions_en/. The same command resumes wherever it was interrupted.
set -euo pipefail
. "$(dirname "$0")/steps.sh"

step data task1 data/multi30k_en_de_tok en de
step captions mmt prepare monolingual data/captions_en_tok --multi30k "$MULTI30K" --language en --no-images --moses --full-stop
step train_teacher mmt train runs/best_en_de_none --config-file "$recipes/configs/best_en_de_none.yaml"
step translate mmt prepare translated data/captions_en_de_taught data/captions_en_tok --model runs/best_en_de_none/model \
    --runtime onnx --precision int8 --no-copies --no-loops --max-ratio 2 --min-log-prob -0.9
step train_student mmt train runs/best_en_de_distilled --config-file "$recipes/configs/best_en_de_distilled.yaml"
for name in best_en_de_none best_en_de_distilled; do
    step "score_$name" mmt evaluate result "runs/$name/model" data/multi30k_en_de_tok test_2016_flickr "$name"
done
seconds data captions train_teacher translate train_student
