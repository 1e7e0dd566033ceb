# Sourced by the scripts beside it: steps that run once, in the folder OUT, from Multi30K's files in $MULTI30K. Further settings of
# all trainings are in TRAIN, such as TRAIN="--config precision=float32".
recipes=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
usage="MULTI30K=FOLDER bash recipes/$(basename "$0") OUT"
MULTI30K=$(realpath "${MULTI30K:?the folder of Multi30K: $usage}")
mkdir -p "${1:?the folder to write: $usage}"
cd "$1"

photos=(--images "$MULTI30K/images")
[ ! -d "$MULTI30K/images_more" ] || photos+=(--images "$MULTI30K/images_more")

step() { # NAME COMMAND...: runs it once, and notes the seconds that the last attempt took
    local name=$1 begun=$SECONDS
    shift
    if [ ! -e "done/$name" ]; then
        echo "== $name"
        "$@"
        mkdir -p done
        echo "$((SECONDS - begun))" >"done/$name"
    fi
}
train() { # RUN RECIPE SETTING...
    local run=$1 recipe=$2
    shift 2
    # shellcheck disable=SC2086  # several words
    mmt train "runs/$run" --config-file "$recipes/configs/$recipe.yaml" "$@" ${TRAIN:-}
}
task1() { # OUT SOURCE TARGET
    mmt prepare multi30k "$1" --raw "$MULTI30K/tok" --no-images --source "$2" --target "$3"
}
int8() { # RUN: exports its model, int8 included, where the training has not kept int8 (it lost over 0.1 BLEU)
    [ -e "runs/$1/model/exported/decoder.int8.onnx" ] || mmt export --model "runs/$1/model"
}
translated() { # DATA MODEL OUT OPTION...: after int8
    local data=$1 model=$2 out=$3
    shift 3
    mmt prepare translated "data/$out" "data/$data" --model "$model" "$@" \
        --runtime onnx --precision int8 --no-copies --no-loops --max-ratio 2 --min-log-prob -0.9
}
seconds() { # NAME...: of each step
    (cd done && grep . "$@")
}
