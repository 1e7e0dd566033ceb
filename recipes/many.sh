#!/usr/bin/env bash
# From Multi30K's task 1 in four languages to one model of six directions, that model trained further on English to German and
# on English to French, and their scores on test_2016_flickr:
#     MULTI30K=FOLDER bash recipes/many.sh OUT
# FOLDER has tok/ and raw/. The same command resumes wherever it was interrupted. Further settings of all trainings are in TRAIN,
# such as TRAIN="--config precision=float32".
set -euo pipefail
. "$(dirname "$0")/steps.sh"

czech() { # the papers' text has no Czech, so it is tokenised here, and lowercased below
    mkdir -p czech
    for split in train val test_2016_flickr; do
        gzip -dcf "$MULTI30K/tok/$split.en"* >"czech/$split.en"
        gzip -dcf "$MULTI30K/raw/$split.cs"* | sacremoses -q -l cs normalize tokenize >"czech/$split.cs"
    done
}
pair_with_czech() { # OUT SOURCE TARGET
    mmt prepare multi30k "$1" --raw czech --no-images --lowercase --source "$2" --target "$3"
}
pair() { # TARGET
    train "multi30k_many_$1" multi30k_many_pair --config "data.path=data/multi30k_en_$1_tok"
}
score() { # RUN SOURCE TARGET
    mmt evaluate result "runs/$1/model" "data/multi30k_$2_$3_tok" test_2016_flickr "$1.$2_$3"
}

step czech czech
for other in de fr cs; do
    prepare=task1
    [ $other != cs ] || prepare=pair_with_czech
    step "data_en_$other" $prepare "data/multi30k_en_${other}_tok" en $other
    step "data_${other}_en" $prepare "data/multi30k_${other}_en_tok" $other en
done
step train_many train multi30k_many multi30k_many
for other in de fr; do step "train_$other" pair $other; done
for other in de fr cs; do
    step "score_en_$other" score multi30k_many en $other
    step "score_${other}_en" score multi30k_many $other en
done
for other in de fr; do step "score_pair_$other" score "multi30k_many_$other" en $other; done
seconds train_many train_de train_fr
