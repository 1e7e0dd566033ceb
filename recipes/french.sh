#!/usr/bin/env bash
# From Multi30K's task 1 to the best text-only en-fr model that reads nothing else, and its score on test_2016_flickr:
#     MULTI30K=FOLDER bash recipes/french.sh OUT
# FOLDER has tok/. An en-fr and a fr-en model translate the training text, and a third model learns from these translations, too
# (data diversification, Nguyen et al. 2020, https://arxiv.org/abs/1911.01986). The same command resumes wherever it was interrupted.
# Further settings of the trainings are in TRAIN, such as TRAIN="--config precision=float32".
set -euo pipefail
. "$(dirname "$0")/steps.sh"

step data_en_fr task1 data/multi30k_en_fr_tok en fr
step data_fr_en task1 data/multi30k_fr_en_tok fr en
for run in base_en_fr best_fr_en_none; do
    step "train_$run" train "$run" "$run"
    step "int8_$run" int8 "$run"
done
step forward translated multi30k_en_fr_tok runs/base_en_fr/model task1_fr_forward --split train
step back translated multi30k_en_fr_tok runs/best_fr_en_none/model task1_fr_back --split train --back
step train_best_en_fr train best_en_fr best_en_fr
step score mmt evaluate result runs/best_en_fr/model data/multi30k_en_fr_tok test_2016_flickr best_en_fr
seconds data_en_fr data_fr_en train_base_en_fr train_best_fr_en_none forward back train_best_en_fr
