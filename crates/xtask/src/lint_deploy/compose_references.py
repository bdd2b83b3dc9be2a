"""What the schema of a compose file cannot see: whether its parts fit together.

Usage: compose_references.py docker-compose.yml
Prints one line for each fault; exit code 1 if there is one.
"""

import pathlib
import sys

from ruamel.yaml import YAML


def faults(compose, folder):
    services = compose["services"]
    declared = {kind: compose.get(kind) or {} for kind in ("volumes", "networks", "configs", "secrets")}
    used_volumes = set()
    for name, service in services.items():
        image = service.get("image")
        if image is None and "build" not in service:
            yield f"{name}: has neither an image nor a build"
        # What is built here may be called what it likes; what is fetched is pinned.
        if image is not None and "build" not in service and "pull_policy" not in service:
            tag = image.rsplit("/", 1)[-1].partition(":")[2]
            if tag in ("", "latest"):
                yield f"{name}: image {image} is not pinned to a version"

        build = service.get("build")
        if build is not None:
            context = folder / (build if isinstance(build, str) else build.get("context", "."))
            dockerfile = "Dockerfile" if isinstance(build, str) else build.get("dockerfile", "Dockerfile")
            if not (context / dockerfile).is_file():
                yield f"{name}: builds from {dockerfile}, which does not exist"

        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if isinstance(volume, str) else volume.get("source", "")
            if source.startswith((".", "/")):
                if not (folder / source).exists():
                    yield f"{name}: mounts {source}, which does not exist"
            elif source:
                used_volumes.add(source)
                if source not in declared["volumes"]:
                    yield f"{name}: uses volume {source}, which is not declared"
        for kind in ("networks", "configs", "secrets"):
            for used in service.get(kind, []):
                used = used if isinstance(used, str) else used["source"]
                if used not in declared[kind] and used != "default":
                    yield f"{name}: uses {kind[:-1]} {used}, which is not declared"

        needed = service.get("depends_on", {})
        for other, how in needed.items() if isinstance(needed, dict) else ((other, {}) for other in needed):
            if other not in services:
                yield f"{name}: depends on {other}, which is no service"
                continue
            condition = how.get("condition", "service_started")
            if condition == "service_healthy" and "healthcheck" not in services[other]:
                yield f"{name}: waits for {other} to be healthy, which has no health check"
            if condition == "service_completed_successfully" and is_restarted(services[other]):
                yield f"{name}: waits for {other} to end, which is always restarted"

    for kind in ("configs", "secrets"):
        for name, how in declared[kind].items():
            if "file" in how and not (folder / how["file"]).is_file():
                yield f"{kind[:-1]} {name}: {how['file']} does not exist"
    for volume in declared["volumes"]:
        if volume not in used_volumes:
            yield f"volume {volume} is declared and not used"


def is_restarted(service):
    return service.get("restart", "no") in ("always", "unless-stopped")


def main():
    path = pathlib.Path(sys.argv[-1])
    found = list(faults(YAML(typ="safe").load(path), path.parent))
    for fault in found:
        print(f"{path.name}: {fault}")
    sys.exit(1 if found else 0)


main()
