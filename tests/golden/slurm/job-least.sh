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
# 12160 hosts train, 340 stand by
exec /usr/bin/python3 -m x '/scratch/run 1/slurm'
