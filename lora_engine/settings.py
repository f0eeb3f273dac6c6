"""The settings there are, each with its default, its bounds and its help in one place.

`lora_engine.environment` reads them once for a process; everything else receives a `Settings` as
an argument. This module knows nothing of torch: which device `auto` means is decided where a
model is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Settings(BaseModel):
    """Where things live and what this process may use. Immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(
        Path("~/.rankscope"),
        description="Folder for runs, uploads and the list of runs.",
        json_schema_extra={"env": "LORA_DATA_DIR"},
    )
    models_dir: Path = Field(
        Path("~/.rankscope/models"),
        description="Folder whose subfolders are base models that can be named.",
        json_schema_extra={"env": "LORA_MODELS_DIR"},
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto",
        description="Device for training and chat; auto takes CUDA where it works, else the "
        "processor. mps, the GPU of an Apple Mac, was not tried and is taken only where asked for.",
        json_schema_extra={"env": "LORA_DEVICE"},
    )
    max_upload_mb: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Largest upload the dashboard accepts, in MB.",
        json_schema_extra={"env": "LORA_MAX_UPLOAD_MB"},
    )
    max_datasets_mb: int = Field(
        2_000,
        ge=1,
        le=10_000_000,
        description="Size of all uploaded datasets together, in MB.",
        json_schema_extra={"env": "LORA_MAX_DATASETS_MB"},
    )
    max_adapters_mb: int = Field(
        20_000,
        ge=1,
        le=10_000_000,
        description="Size of all added adapters together, in MB.",
        json_schema_extra={"env": "LORA_MAX_ADAPTERS_MB"},
    )
    max_person_mb: int = Field(
        1_000,
        ge=1,
        le=10_000_000,
        description="Size of the datasets and adapters of each person behind a login, in MB.",
        json_schema_extra={"env": "LORA_MAX_PERSON_MB"},
    )
    max_waiting_uploads_mb: int = Field(
        2_000,
        ge=1,
        le=10_000_000,
        description="Size of all uploads that nobody has read yet, in MB.",
        json_schema_extra={"env": "LORA_MAX_WAITING_UPLOADS_MB"},
    )
    max_queued: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Runs that may wait in the queue.",
        json_schema_extra={"env": "LORA_MAX_QUEUED"},
    )
    max_queued_per_person: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Runs of each person behind a login that may wait in the queue.",
        json_schema_extra={"env": "LORA_MAX_QUEUED_PER_PERSON"},
    )
    max_matrices_mb: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="Memory for the matrices that are open on the page Spectrum, in MB.",
        json_schema_extra={"env": "LORA_MAX_MATRICES_MB"},
    )
    max_cache_mb: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Size of the rows and tokens kept for the next run, in MB; 0 keeps none.",
        json_schema_extra={"env": "LORA_MAX_CACHE_MB"},
    )
    standby_minutes: int = Field(
        10,
        ge=0,
        le=1_440,
        description="Minutes that a process with its libraries loaded waits for the next run; 0 "
        "starts none.",
        json_schema_extra={"env": "LORA_STANDBY_MINUTES"},
    )
    allowed_roots: tuple[Path, ...] = Field(
        (),
        description="Folders in which the paths may lie that people behind a login type, "
        "comma-separated; the data and the models folder where it is not set.",
        json_schema_extra={"env": "LORA_ALLOWED_ROOTS"},
    )
    llama_cpp_dir: Path | None = Field(
        None,
        description="Folder with llama.cpp's source, whose converters then write GGUF.",
        json_schema_extra={"env": "LLAMA_CPP_DIR"},
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host names beside loopback that may address the dashboard, comma-separated.",
        json_schema_extra={"env": "LORA_ALLOWED_HOSTS"},
    )

    allowed_servers: tuple[str, ...] = Field(
        (),
        description="Other servers, such as gpu.example:8000, that people behind a login may "
        "compare with, and the networks of their addresses, comma-separated.",
        json_schema_extra={"env": "LORA_ALLOWED_SERVERS"},
    )
    frame_ancestors: tuple[str, ...] = Field(
        (),
        description="Sites that may show the dashboard in a frame, as https://a.example.",
        json_schema_extra={"env": "LORA_FRAME_ANCESTORS"},
    )

    password_file: Path | None = Field(
        None,
        description="File of who may sign in, made by `rankscope people add`.",
        json_schema_extra={"env": "LORA_PASSWORD_FILE"},
    )
    token: SecretStr | None = Field(
        None,
        min_length=16,
        max_length=512,
        description="Token that lets in whoever has it; off loopback one is made where none is.",
        json_schema_extra={"env": "LORA_TOKEN"},
    )
    session_hours: int = Field(
        24,
        ge=1,
        le=720,
        description="Hours after which somebody who signed in must do it again.",
        json_schema_extra={"env": "LORA_SESSION_HOURS"},
    )
    proxy_user_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header in which a trusted proxy names who has signed in with it.",
        json_schema_extra={"env": "LORA_PROXY_USER_HEADER"},
    )
    proxy_role: Literal["see", "run", "manage"] = Field(
        "run",
        description="Role of people whom the proxy names and the people file does not.",
        json_schema_extra={"env": "LORA_PROXY_ROLE"},
    )
    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses and networks of proxies whose headers are believed.",
        json_schema_extra={"env": "LORA_TRUSTED_PROXIES"},
    )

    api_key_file: Path | None = Field(
        None,
        description="File with the key of the OpenAI-compatible API; without one the API is off.",
        json_schema_extra={"env": "LORA_API_KEY_FILE"},
    )
    api_base: str = Field(
        "starter",
        min_length=1,
        max_length=4_096,
        description="Base model that the API serves with its adapters.",
        json_schema_extra={"env": "LORA_API_BASE"},
    )
    api_max_tokens: int = Field(
        2_048,
        ge=1,
        le=8_192,
        description="Longest answer of one request to the API, in tokens.",
        json_schema_extra={"env": "LORA_API_MAX_TOKENS"},
    )
    api_max_prompt_tokens: int = Field(
        8_192,
        ge=1,
        le=1_000_000,
        description="Longest prompt of one request to the API, in tokens.",
        json_schema_extra={"env": "LORA_API_MAX_PROMPT_TOKENS"},
    )
    api_max_running: int = Field(
        32,
        ge=1,
        le=256,
        description="Answers that the API generates at the same time.",
        json_schema_extra={"env": "LORA_API_MAX_RUNNING"},
    )
    api_max_waiting: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Requests to the API that may wait for their turn; one more is refused (429).",
        json_schema_extra={"env": "LORA_API_MAX_WAITING"},
    )
    api_max_wait_s: float = Field(
        60,
        gt=0,
        le=3_600,
        description="Seconds that a request to the API waits for its turn before it fails (503).",
        json_schema_extra={"env": "LORA_API_MAX_WAIT_S"},
    )

    max_elsewhere: int = Field(
        16,
        ge=1,
        le=1_000,
        description="Runs that clusters have at once, waiting there or training.",
        json_schema_extra={"env": "LORA_MAX_ELSEWHERE"},
    )
    ray_address: str | None = Field(
        None,
        pattern=r"^https?://[A-Za-z0-9.\-\[\]:]{1,253}(/[A-Za-z0-9._/-]{0,200})?$",
        description="Dashboard of a Ray cluster that runs may train on, as http://head:8265.",
        json_schema_extra={"env": "LORA_RAY_ADDRESS"},
    )
    ray_folder: Path | None = Field(
        None,
        description="Path of the data folder on Ray's nodes; the same where it is not set.",
        json_schema_extra={"env": "LORA_RAY_FOLDER"},
    )
    ray_python: str = Field(
        "python",
        pattern=r"^[A-Za-z0-9_/~.+-]{1,1000}$",
        description="Python on Ray's nodes, with the packages of requirements.txt.",
        json_schema_extra={"env": "LORA_RAY_PYTHON"},
    )
    ray_poll_s: float = Field(
        2,
        ge=0.1,
        le=600,
        description="Seconds between two questions about a Ray job.",
        json_schema_extra={"env": "LORA_RAY_POLL_S"},
    )
    ray_patience_s: float = Field(
        120,
        ge=1,
        le=86_400,
        description="Seconds without a sign of life before a run on Ray counts as interrupted.",
        json_schema_extra={"env": "LORA_RAY_PATIENCE_S"},
    )
    ray_storage: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9+-]{0,30}://[A-Za-z0-9/][A-Za-z0-9._/ -]{0,499}$",
        description="Storage that this machine and Ray's nodes reach, as s3://bucket/rankscope; "
        "where it is not set they share the data folder. Access is set up on each machine.",
        json_schema_extra={"env": "LORA_RAY_STORAGE"},
    )
    ray_storage_mb: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="Size of what one run takes to Ray's storage, and of what it leaves, in MB.",
        json_schema_extra={"env": "LORA_RAY_STORAGE_MB"},
    )
    slurm_host: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,252}$",
        description="Where Slurm's commands run: local for this machine, else the login node that "
        "ssh reaches, as user@login.example.",
        json_schema_extra={"env": "LORA_SLURM_HOST"},
    )
    slurm_folder: Path | None = Field(
        None,
        description="Path of the data folder on the cluster's nodes; the same where it is not set.",
        json_schema_extra={"env": "LORA_SLURM_FOLDER"},
    )
    slurm_project: Path | None = Field(
        None,
        description="Folder of this program on the cluster's nodes; the same where it is not set.",
        json_schema_extra={"env": "LORA_SLURM_PROJECT"},
    )
    slurm_python: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_/~.+-]{1,1000}$",
        description="Python on the cluster's nodes; the same as here where it is not set.",
        json_schema_extra={"env": "LORA_SLURM_PYTHON"},
    )
    slurm_partition: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$",
        description="Partition of Slurm jobs; the cluster's default where it is not set.",
        json_schema_extra={"env": "LORA_SLURM_PARTITION"},
    )
    slurm_account: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$",
        description="Account that Slurm jobs are charged to, where the cluster asks for one.",
        json_schema_extra={"env": "LORA_SLURM_ACCOUNT"},
    )
    slurm_minutes: int | None = Field(
        None,
        ge=2,
        le=525_600,
        description="Time limit of a Slurm job, in minutes. A run that reaches it saves a "
        "checkpoint, is queued again and goes on.",
        json_schema_extra={"env": "LORA_SLURM_MINUTES"},
    )
    slurm_poll_s: float = Field(
        5,
        ge=0.1,
        le=600,
        description="Seconds between two questions about a Slurm job.",
        json_schema_extra={"env": "LORA_SLURM_POLL_S"},
    )
    slurm_patience_s: float = Field(
        600,
        ge=1,
        le=86_400,
        description="Seconds that Slurm may not answer before a run there counts as interrupted.",
        json_schema_extra={"env": "LORA_SLURM_PATIENCE_S"},
    )

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    @property
    def sweeps_dir(self) -> Path:
        return self.data_dir / "sweeps"

    @property
    def database_path(self) -> Path:
        return self.data_dir / "runs.db"

    @property
    def datasets_dir(self) -> Path:
        return self.data_dir / "datasets"

    @property
    def token_cache_dir(self) -> Path:
        return self.data_dir / "cache" / "tokens"


def environment_names() -> dict[str, str]:
    """Field name of `Settings` to the environment variable that sets it."""
    names = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.json_schema_extra, dict)
        names[name] = str(field.json_schema_extra["env"])
    return names
