#!/usr/bin/env bash
# From Multi30K's text and photographs to a model that restores masked colours from the image, and its evaluation:
#     MULTI30K=FOLDER bash recipes/colours.sh OUT
# FOLDER has tok/, raw/, image_splits/, captions_en/ and images/, and may have images_more/, whose images are scored apart
# from those of images/. Some images of train and of val must be missing, as in Multi30K's part of Flickr8k: their sentences
# train the base and choose its weights. The same command resumes wherever it was interrupted. Further settings of the
# trainings are in TRAIN, such as TRAIN="--config precision=float32".
set -euo pipefail
. "$(dirname "$0")/steps.sh"

groups=()
[ ! -d "$MULTI30K/images_more" ] || groups=(--group "squashed=$MULTI30K/images")
stores=(--images features/multi30k_lite0_grid448 --images features/multi30k_colours_grid224)
models=()
for seed in 1 2 3; do models+=(--model "runs/best_en_de_colour.$seed/model"); done

score() { # SPLIT
    mmt evaluate probes data/colours "$1" "best_en_de_colour.$1" "${stores[@]}" "${models[@]}" \
        --text-only runs/best_en_de_colour_base/model "${groups[@]}"
}

step data mmt prepare multi30k data/multi30k_en_de_images --raw "$MULTI30K/tok" --multi30k "$MULTI30K" "${photos[@]}"
step masked mmt prepare probes data/multi30k_en_de_images data/colours --probe colour --only-images
step text mmt prepare probes data/multi30k_en_de_images data/colours_text --probe colour --no-images --also-plain
step captions mmt prepare monolingual data/captions_images --multi30k "$MULTI30K" --language en --moses --full-stop \
    "${photos[@]}" --only-images
step lite0_448 mmt features --images data/multi30k_en_de_images --layer grid --image-size 448 \
    --out features/multi30k_lite0_grid448
step colours_224 mmt features --images data/multi30k_en_de_images --backbone colours --layer grid --image-size 224 \
    --out features/multi30k_colours_grid224
step train_base train best_en_de_colour_base best_en_de_colour_base
step int8_base int8 best_en_de_colour_base
step translate_captions translated captions_images runs/best_en_de_colour_base/model captions_images_de
step masked_captions mmt prepare probes data/captions_images_de data/colours_captions --probe colour --only-masked
for seed in 1 2 3; do step "train_$seed" train "best_en_de_colour.$seed" best_en_de_colour \
    --config "seed=$seed" --config model.text=mmt:runs/best_en_de_colour_base/model; done
for split in val test_2016_flickr; do step "score_$split" score "$split"; done
seconds data masked text captions lite0_448 colours_224 train_base translate_captions masked_captions train_1 train_2 train_3
