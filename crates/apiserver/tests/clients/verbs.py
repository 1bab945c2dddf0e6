"""Every verb of Python's client once: lists by pages and selectors, watches, the four patches, and what is refused."""

import sys

from kubernetes import client, config, watch

config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
objects = client.CustomObjectsApi()
SPACE = "default"
KIND = ("networking.istio.io", "v1", SPACE, "virtualservices")
APPLY = "application/apply-patch+yaml"


def same(got, expected):
    assert got == expected, f"{got!r} is not {expected!r}"


def refused(code, reason, ask, *arguments, **more):
    try:
        ask(*arguments, **more)
    except client.ApiException as error:
        same(error.status, code)
        assert f'"reason":"{reason}"' in error.body.replace(": ", ":"), error.body
        return
    raise AssertionError(f"{code} was due")


def config_map(name, **data):
    meta = client.V1ObjectMeta(name=name, labels={"app": name})
    return client.V1ConfigMap(metadata=meta, data=data)


def virtual_service(name, host):
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "h"}}]}]},
    }


# Lists, by pages and by selectors.
for name in ["a", "b", "c"]:
    core.create_namespaced_config_map(SPACE, config_map(name, key="1"))
page = core.list_namespaced_config_map(SPACE, limit=2)
same([item.metadata.name for item in page.items], ["a", "b"])
rest = core.list_namespaced_config_map(SPACE, limit=2, _continue=page.metadata._continue)
same([item.metadata.name for item in rest.items], ["c"])
same(rest.metadata.resource_version, page.metadata.resource_version)
chosen = core.list_config_map_for_all_namespaces(label_selector="app in (a, c)")
same([item.metadata.name for item in chosen.items], ["a", "c"])
refused(404, "NotFound", core.read_namespaced_config_map, "none", SPACE)
refused(409, "AlreadyExists", core.create_namespaced_config_map, SPACE, config_map("a"))

# Merge and JSON patches, and a replacement of what has changed meanwhile.
old = core.read_namespaced_config_map("a", SPACE)
merge = {"data": {"key": None, "other": "2"}}
patched = core.patch_namespaced_config_map(
    "a", SPACE, merge, _content_type="application/merge-patch+json"
)
same(patched.data, {"other": "2"})
operations = [
    {"op": "test", "path": "/data/other", "value": "2"},
    {"op": "add", "path": "/data/more", "value": "3"},
]
same(core.patch_namespaced_config_map("a", SPACE, operations).data, {"other": "2", "more": "3"})
operations[0]["value"] = "wrong"
refused(422, "Invalid", core.patch_namespaced_config_map, "a", SPACE, operations)
refused(409, "Conflict", core.replace_namespaced_config_map, "a", SPACE, old)

# A strategic patch of a Service: ports by their number.
ports = [client.V1ServicePort(name="http", port=80), client.V1ServicePort(name="https", port=443)]
spec = client.V1ServiceSpec(ports=ports, selector={"app": "a"})
service = client.V1Service(metadata=client.V1ObjectMeta(name="s"), spec=spec)
core.create_namespaced_service(SPACE, service)
change = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
patched = core.patch_namespaced_service(
    "s", SPACE, change, _content_type="application/strategic-merge-patch+json"
)
same([(p.name, p.target_port) for p in patched.spec.ports], [("http", 8080), ("https", 443)])

# Server-side apply: who says what, and who else.
applied = virtual_service("v", "one.example")
params = {"_content_type": APPLY, "field_manager": "first"}
objects.patch_namespaced_custom_object(*KIND, "v", applied, **params)
# Of what a patch has made this client returns nothing.
made = objects.get_namespaced_custom_object(*KIND, "v")
same(made["spec"]["hosts"], ["one.example"])
same([owner["operation"] for owner in made["metadata"]["managedFields"]], ["Apply"])
again = objects.patch_namespaced_custom_object(*KIND, "v", applied, **params)
same(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"])
other = virtual_service("v", "two.example")
params["field_manager"] = "second"
refused(409, "Conflict", objects.patch_namespaced_custom_object, *KIND, "v", other, **params)
taken = objects.patch_namespaced_custom_object(*KIND, "v", other, force=True, **params)
same(taken["spec"]["hosts"], ["two.example"])
unknown = virtual_service("u", "u.example")
unknown["spec"]["zzz"] = 1
refused(
    400, "BadRequest", objects.create_namespaced_custom_object, *KIND, unknown,
    field_validation="Strict",
)

# A watch tells what happens after a list, as typed objects, and ends in its time.
listed = core.list_namespaced_config_map(SPACE)
core.patch_namespaced_config_map("b", SPACE, {"data": {"key": "9"}})
core.delete_namespaced_config_map("c", SPACE)
stream = watch.Watch().stream(
    core.list_namespaced_config_map, SPACE,
    resource_version=listed.metadata.resource_version, timeout_seconds=1,
)
told = [(event["type"], event["object"].metadata.name) for event in stream]
same(told, [("MODIFIED", "b"), ("DELETED", "c")])
try:
    past = watch.Watch().stream(
        core.list_namespaced_config_map, SPACE, resource_version="1", timeout_seconds=1
    )
    raise AssertionError(f"what was before the store is not known: {list(past)}")
except client.ApiException as error:
    same(error.status, 410)

core.delete_collection_namespaced_config_map(SPACE, label_selector="app=a")
same([item.metadata.name for item in core.list_namespaced_config_map(SPACE).items], ["b"])
print("all good")
