#!/usr/bin/env bash
# From Multi30K's task 1 to the best text-only and gated en-de models that read nothing else, and their scores on
# test_2016_flickr:
#     MULTI30K=FOLDER bash recipes/data_diversification.sh OUT
# FOLDER has tok/, raw/, image_splits/ and images/, and may have images_more/. An en-de and a de-en model translate the training
# text, and text-only models learn from these translations, too (Nguyen et al. 2020, https://arxiv.org/abs/1911.01986). Each of them
# is then trained further with gated fusion. The same command resumes wherever it was interrupted.
# Further settings of the trainings are in TRAIN, such as TRAIN="--config precision=float32".
set -euo pipefail
. "$(dirname "$0")/steps.sh"

score() { # NAME SEED DATA OPTION...
    local name=$1 seed=$2 data=$3
    shift 3
    mmt evaluate result "runs/$name.$seed/model" "data/$data" test_2016_flickr "$name.$seed" "$@"
}

step data_en_de task1 data/multi30k_en_de_tok en de
step data_de_en task1 data/multi30k_de_en_tok de en
step data mmt prepare multi30k data/multi30k_en_de_images --raw "$MULTI30K/tok" --multi30k "$MULTI30K" "${photos[@]}"
step lite0_pool mmt features --images data/multi30k_en_de_images --out features/multi30k_lite0
step train_base_1 train base_en_de base_en_de
step train_de_en train best_de_en_none best_de_en_none
for run in base_en_de best_de_en_none; do step "int8_$run" int8 "$run"; done
step forward translated multi30k_en_de_images runs/base_en_de/model task1_forward --split train
step back translated multi30k_en_de_images runs/best_de_en_none/model task1_back --split train --back
for seed in 1 2 3; do
    step "train_none_$seed" train "best_en_de_none.$seed" best_en_de_none --config "seed=$seed"
    step "score_none_$seed" score best_en_de_none "$seed" multi30k_en_de_tok
    step "train_gated_$seed" train "best_en_de_gated.$seed" best_en_de_gated --config "seed=$seed" \
        --config "start.model=runs/best_en_de_none.$seed/model"
    step "score_gated_$seed" score best_en_de_gated "$seed" multi30k_en_de_images --images features/multi30k_lite0
done
seconds data_en_de data_de_en data lite0_pool train_base_1 train_de_en forward back train_{none,gated}_{1,2,3}
