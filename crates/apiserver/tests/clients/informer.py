"""Follows the VirtualServices of an API server as an informer does: a list, then a watch from there.

Prints a line for each change: the object's name, and its resourceVersion, or "-" where it is gone. What a list shows is
compared with what is known; what a watch tells is printed as it comes.
"""

import sys
import time

import urllib3
from kubernetes import client, config, watch

config.load_kube_config(sys.argv[1])
objects = client.CustomObjectsApi()
kind = ("networking.istio.io", "v1", "virtualservices")
known = {}


def tell(name, revision):
    print(name, revision or "-", flush=True)


def meta(item):
    return item["metadata"]["name"], item["metadata"]["resourceVersion"]


def relist():
    listed = objects.list_cluster_custom_object(*kind)
    now = dict(meta(item) for item in listed["items"])
    for name in known.keys() - now.keys():
        tell(name, None)
    for name, revision in now.items():
        if known.get(name) != revision:
            tell(name, revision)
    known.clear()
    known.update(now)
    return listed["metadata"]["resourceVersion"]


def follow(revision):
    """Until the server ends the watch; returns the last revision that it told."""
    stream = watch.Watch().stream(
        objects.list_cluster_custom_object, *kind, resource_version=revision, timeout_seconds=60
    )
    for event in stream:
        name, revision = meta(event["object"])
        if event["type"] == "DELETED":
            known.pop(name, None)
            tell(name, None)
        else:
            known[name] = revision
            tell(name, revision)
    return revision


revision = None
while True:
    try:
        revision = follow(revision) if revision else relist()
    except client.ApiException as error:
        if error.status == 410:
            revision = None
        elif error.status not in (429, 503):
            raise
    except (urllib3.exceptions.HTTPError, OSError):
        # It starts again, perhaps. What was told last is not known for sure.
        revision = None
        time.sleep(0.1)
