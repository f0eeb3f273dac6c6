"""A Slurm cluster of one node on this machine, for a test: Debian's, unpacked by `make slurm`.

It runs as whoever runs the test, on free ports and in a folder of its own. Nothing proves who
somebody is (auth/none), and no job's cost is kept.
"""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import time
from pathlib import Path

import psutil

from tests.waiting import free_port, kill_tree

ROOT = Path(__file__).parents[1]
UNPACKED = ROOT / "build" / "slurm"
LIBRARIES = next((UNPACKED / "usr" / "lib").glob("*-linux-gnu"), UNPACKED)  # of this machine
IS_UNPACKED = UNPACKED.exists()  # it gets its name when all of it is there
NODE, PARTITION = "here", "small"
START_S = 60
CONFIGURATION = """\
ClusterName=rankscope-test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/node.log
ReturnToService=2
MessageTimeout=2
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
NodeName={node} NodeHostname={hostname} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName={partition} Nodes={node} Default=YES MaxTime=60 State=UP
"""


class SlurmCluster:
    """The controller and the node, started and stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        plugins = LIBRARIES / "slurm-wlm"
        written = CONFIGURATION.format(
            controller_port=free_port(), node_port=free_port(), user=getpass.getuser(),
            plugins=plugins, folder=folder, node=NODE, partition=PARTITION,
            hostname=socket.gethostname(),
        )  # fmt: skip
        (folder / "slurm.conf").write_text(written, "utf-8")
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "LD_LIBRARY_PATH": f"{LIBRARIES}:{plugins}",
            "PATH": f"{UNPACKED / 'usr' / 'bin'}:{os.environ['PATH']}",
        }
        self._processes: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Raises AssertionError with the logs where it does not come up."""
        self.start_controller()
        self.start_node()
        deadline = time.monotonic() + START_S
        while self.command("sinfo", "--noheader", "--format=%T", check=False) != "idle":
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def start_controller(self) -> None:
        self._start("controller", "slurmctld-wlm", "-D")

    def start_node(self) -> None:
        stepd = UNPACKED / "usr" / "sbin" / "slurmstepd-wlm"
        self._start("node", "slurmd-wlm", "-D", "-N", NODE, "-d", str(stepd))

    def kill_controller(self) -> None:
        self._kill("controller")

    def kill_node(self) -> None:
        """The node with all its jobs, as when its power fails, and the controller notices."""
        self._kill("node")
        self.end_jobs()
        self.command("scontrol", "update", f"nodename={NODE}", "state=down", "reason=lost")

    def end_jobs(self) -> None:
        """SIGKILL for every process of this cluster's jobs."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"] and (
                    "SLURM_JOB_ID" in process.environ() or "slurmstepd" in process.name()
                ):
                    process.kill()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    def command(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )
        return done.stdout.strip()

    def logs(self) -> str:
        found = [self.folder / "controller.log", self.folder / "node.log"]
        return "\n".join(path.read_text("utf-8") for path in found if path.exists())

    def stop(self) -> None:
        self._kill("node")
        self.end_jobs()
        self._kill("controller")

    def _start(self, name: str, program: str, *options: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [str(UNPACKED / "usr" / "sbin" / program), *options],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        kill_tree(process.pid)
        process.wait()
