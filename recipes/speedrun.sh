#!/usr/bin/env bash
# From Multi30K's text to the best en-de model and its score on test_2016_flickr:
#     MULTI30K=FOLDER bash recipes/speedrun.sh OUT
# FOLDER has tok/, raw/, image_splits/, captions_en/ and captions_de/. Two en-de models translate the English captions, and a
# de-en model the German ones; one model learns from both and from task 1. The same command resumes wherever it was interrupted.
set -euo pipefail
. "$(dirname "$0")/steps.sh"

captions() { # LANGUAGE
    mmt prepare monolingual "data/captions_$1_tok" --multi30k "$MULTI30K" --language "$1" --no-images --moses --full-stop
}
teacher() { # RUN RECIPE SETTING...
    local run=$1 recipe=$2
    shift 2
    mmt train "runs/$run" --config-file "$recipes/configs/$recipe.yaml" "$@"
    mmt export --model "runs/$run/model" # int8, too, whatever it loses: it translates captions
}
translated() { # DATA MODEL OUT OPTION...
    local data=$1 model=$2 out=$3
    shift 3
    mmt prepare translated "data/$out" "data/$data" --model "$model" "$@" \
        --runtime onnx --precision int8 --no-copies --no-loops --max-ratio 2 --min-log-prob -0.9
}

step data_en_de task1 data/multi30k_en_de_tok en de
step data_de_en task1 data/multi30k_de_en_tok de en
for language in en de; do step "captions_$language" captions "$language"; done
step train_en_de_1 teacher best_en_de_none best_en_de_none
step train_en_de_2 teacher best_en_de_none.2 best_en_de_none --config seed=2
step train_de_en teacher best_de_en_none best_de_en_none
step translate translated captions_en_tok runs/best_en_de_none/model+runs/best_en_de_none.2/model captions_en_de_taught
step back_translate translated captions_de_tok runs/best_de_en_none/model captions_en_de_tok --back --tag "<bt>"
step train_student mmt train runs/best_en_de_bt --config-file "$recipes/configs/best_en_de_bt.yaml"
step score mmt evaluate result runs/best_en_de_bt/model data/multi30k_en_de_tok test_2016_flickr best_en_de_bt
seconds data_en_de data_de_en captions_en captions_de train_en_de_1 train_en_de_2 train_de_en translate back_translate train_student
