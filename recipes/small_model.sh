#!/usr/bin/env bash
# A small, fast en-de model that a larger one teaches (distillation), and how much faster it translates than its teacher:
#     MULTI30K=FOLDER bash recipes/small_model.sh OUT
# FOLDER has tok/. Run it in a checkout. The same command resumes wherever it was interrupted. Further settings of both
# trainings are in TRAIN, such as TRAIN="--config precision=float32".
set -euo pipefail
checkout=$(realpath "$(dirname "$0")/..")
. "$(dirname "$0")/steps.sh"

english=$MULTI30K/tok/val.en.gz
[ -e "$english" ] || english=${english%.gz}
[ -e "$english" ] || { echo "$english: expected this file or $english.gz. MULTI30K is the folder of tok/." >&2; exit 2; }

score() { # NAME SPLIT
    mmt evaluate result "runs/$1/model" data/multi30k_en_de_tok "$2" "$1.$2"
}
speed() { # NAME PRECISION OTHER_PRECISION
    PYTHONPATH="$checkout" python -m eval.bench.two_models runs/teacher_en_de/model runs/small_en_de/model \
        "$english" --precision "$2" --other-precision "$3" --out "$1.json"
}

step data_en_de task1 data/multi30k_en_de_tok en de
step train_teacher train teacher_en_de teacher_en_de
step translate_train mmt prepare translated data/multi30k_en_de_distilled data/multi30k_en_de_tok --split train \
    --model runs/teacher_en_de/model
step train_small train small_en_de small_en_de
for split in val test_2016_flickr; do
    step "score_teacher_$split" score teacher_en_de "$split"
    step "score_small_$split" score small_en_de "$split"
done
for name in teacher_en_de small_en_de; do step "int8_$name" int8 "$name"; done
step speed_float32 speed speed_float32 float32 float32
step speed_int8 speed speed_int8 float32 int8
step speed_int8_both speed speed_int8_both int8 int8
seconds data_en_de train_teacher translate_train train_small
