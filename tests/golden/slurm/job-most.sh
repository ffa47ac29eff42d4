#!/bin/sh
#SBATCH --job-name=giga-colossus
#SBATCH --nodes=12500
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH '--output=/scratch/run 1/slurm/job-%j.log'
#SBATCH --signal=B:TERM@120
#SBATCH --partition=gpu
#SBATCH --account=llm
#SBATCH --qos=high
#SBATCH '--constraint=h100&ib'
#SBATCH --gres=gpu:8
#SBATCH --time=1-01:01:02
#SBATCH '--reservation=night shift'
# 12160 hosts train, 340 stand by
exec /usr/bin/python3 -m x '/scratch/run 1/slurm'
