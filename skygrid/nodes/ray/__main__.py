"""The gateway to a Ray cluster."""

from __future__ import annotations

import os
from pathlib import Path

from skygrid.nodes.gateway.cluster import Cluster, GatewaySettings
from skygrid.nodes.gateway.server import serve
from skygrid.nodes.ray.requests import variables


def cluster_of(settings: GatewaySettings) -> Cluster:
    """Return the cluster of some settings. Ray reads environment variables when it is imported."""
    os.environ.update(variables(os.environ, settings.place["address"], Path.home()))
    from skygrid.nodes.ray.cluster import RayCluster

    return RayCluster(settings)


if __name__ == "__main__":
    serve(cluster_of)
