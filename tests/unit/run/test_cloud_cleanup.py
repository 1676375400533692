"""Runs on this machine that have rented nodes."""

from __future__ import annotations

import msgspec

from skygrid.config import RunConfig
from skygrid.nodes.ec2.cloud_record import FILE_NAME, CloudRecord
from skygrid.run.cloud_cleanup import runs_here
from skygrid.run.folder import RunFolder


def test_a_damaged_record_does_not_hide_the_nodes_of_other_runs(tmp_path):
    """A run that cannot be read is a warning; `nodes` and `down` go on with the others."""
    folders = []
    for name in ("good", "bad", "worse"):
        config = RunConfig(runs_dir=tmp_path, name=name)
        folders.append(RunFolder.create(config, tmp_path / "s.py", "0123456789abcdef").path)
        fresh = CloudRecord(run_id="0123456789abcdef", region="r", account="1")
        (folders[-1] / FILE_NAME).write_bytes(msgspec.json.encode(fresh))
    (folders[2] / FILE_NAME).write_text("{}")
    (folders[1] / "run.json").write_text('{"format": 1, "driver": {"pid": 1099511627776}}')
    warnings: list[str] = []

    found = runs_here(RunConfig(), folders, warnings.append)

    assert [one.name for one in found] == ["good"]
    assert [one.startswith("warning: cannot read ") for one in warnings] == [True, True]
