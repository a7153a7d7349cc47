"""`semcentres train` as a Hydra application, for Hydra's own sweeps and launchers.

    pip install 'semcentres[sweep]'
    python scripts/sweep.py -m hydra/launcher=ray centres=one_hot,sentence seed=0,1,2 \
        data=folder data.root=/shared/pictures 'run_dir=/shared/runs/${hydra:job.num}'

Each job is a training like any other: it goes on from its checkpoint when the sweep is run again.
For one machine there is `semcentres compare`, which also draws the table. Paths must be absolute:
a launcher's jobs run in folders of their own.
"""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from centre_builders.errors import InputError
from semcentres.compose import config_folder, register_schemas, to_settings
from semcentres.interrupt import Stopped
from semcentres.verbs import train

register_schemas()


@hydra.main(config_path=str(config_folder()), config_name="train", version_base="1.3")
def main(config: DictConfig) -> float:
    """Train; return the accuracy, which is what Hydra's optimising sweepers maximise."""
    try:
        _, results = train(to_settings(config))
    except Stopped as error:
        print(f"{error}; the same words go on", file=sys.stderr)
        if HydraConfig.get().runtime.choices["hydra/launcher"] != "basic":
            raise  # the launcher's process must not end: Ray would begin the job anew
        # Not an Exception, after which Hydra would begin the next job.
        raise SystemExit(error.exit_code) from error
    return float(results["nearest_centre_accuracy"])


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else it prints a traceback and leaves with its own code
    try:
        main()
    except (InputError, Stopped) as fault:
        print(f"sweep.py: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
