#!/usr/bin/env bash
# From Multi30K's text to the best en-de model and its score on test_2016_flickr:
#     MULTI30K=FOLDER bash recipes/speedrun.sh OUT
# FOLDER has tok/, raw/, image_splits/, captions_en/ and captions_de/. Two en-de models translate the English captions, and a
# de-en model the German ones; one model learns from both and from task 1. The same command resumes wherever it was interrupted.
# Further settings of the trainings are in TRAIN, such as TRAIN="--config precision=float32".
set -euo pipefail
. "$(dirname "$0")/steps.sh"

captions() { # LANGUAGE
    mmt prepare monolingual "data/captions_$1_tok" --multi30k "$MULTI30K" --language "$1" --no-images --moses --full-stop
}

step data_en_de task1 data/multi30k_en_de_tok en de
step data_de_en task1 data/multi30k_de_en_tok de en
for language in en de; do step "captions_$language" captions "$language"; done
step train_base_1 train base_en_de base_en_de
step train_base_2 train base_en_de.2 base_en_de --config seed=2
step train_de_en train best_de_en_none best_de_en_none
for run in base_en_de base_en_de.2 best_de_en_none; do step "int8_$run" int8 "$run"; done
step teach translated captions_en_tok runs/base_en_de/model+runs/base_en_de.2/model captions_en_de_taught
step translate_back translated captions_de_tok runs/best_de_en_none/model captions_en_de_tok --back --tag "<bt>"
step train_bt train best_en_de_bt best_en_de_bt
step score_bt mmt evaluate result runs/best_en_de_bt/model data/multi30k_en_de_tok test_2016_flickr best_en_de_bt
seconds data_en_de data_de_en captions_en captions_de train_base_1 train_base_2 train_de_en teach translate_back train_bt
