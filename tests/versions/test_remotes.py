"""Push and pull across a real SSH connection."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Repository = Any
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/mine.pub
PidFile {folder}/pid
Subsystem sftp internal-sftp
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """An SSH server on this machine with keys of its own: its port, and the key that opens it."""
    if SSHD is None:
        pytest.skip("no SSH server is installed (Debian: openssh-server)")
    folder = tmp_path / "server"
    folder.mkdir()
    for name in ("host", "mine"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(SERVER.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd locks up its network half
    log = (folder / "log").open("w")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        wait_for(port, process)
        yield port, folder / "mine"
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, "sshd did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_push_and_pull_over_ssh(
    work: Repository, clone: Repository, server: tuple[int, Path], tmp_path: Path
) -> None:
    """What one tree pushes over SSH another restores: the same bytes, and nothing to run."""
    port, key = server
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/far"
    for place in (work, clone):
        place.dvc("remote", "modify", "--local", "storage", "url", url)
        place.dvc("remote", "modify", "--local", "storage", "keyfile", key)
        place.dvc("remote", "modify", "--local", "storage", "allow_agent", "false")
    work.dvc("push")
    assert list((tmp_path / "far" / "files" / "md5").iterdir())
    assert "in sync" in work.dvc("status", "--cloud")
    assert "nothing needs to run" in clone.stratascope("restore")
    assert clone.bytes_of("results/**/*") == work.bytes_of("results/**/*")
    assert "Nothing to be done" in clone.snakemake("-n")
