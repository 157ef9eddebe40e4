#!/bin/bash
# Starts a run on all machines of a TPU slice, over SSH.
#
#   scripts/launch/tpu_vm.sh NAME ZONE --config=resnet50_imagenet --workdir=/mnt/shared/runs/mine
#
# jaxcls and jax[tpu] are installed there, the workdir lies on a disk that all machines share. Ctrl-C here ends the
# connections alone; `pkill -TERM -f "jaxcls train"` by the same way stops the run, which saves its state.
set -eu
name=${1:?name of the slice}
zone=${2:?its zone}
shift 2
command="jaxcls train --distributed$(printf ' %q' "$@")"
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$command"
