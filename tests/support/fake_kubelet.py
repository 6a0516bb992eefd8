# SPDX-License-Identifier: Apache-2.0
"""A kubelet's device manager in this process: registrations, lists, admission, container starts, podresources.

It does what the real one does where a plugin can notice: it empties the folder of sockets when it starts, goes through
a container's resources in any order, gives the units of init containers to those that come after, keeps what it gave
over its restarts, and then wants to find it healthy.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from device_plugin.wire import deviceplugin_pb2 as wire
from device_plugin.wire import podresources_v1_pb2 as v1
from device_plugin.wire import podresources_v1alpha1_pb2 as v1alpha1
from device_plugin.wire.services import call, channel

PODRESOURCES = {"v1": v1, "v1alpha1": v1alpha1}


class AdmissionError(Exception):
    """The pod's end: UnexpectedAdmissionError and what the kubelet says of it."""


class StartError(Exception):
    """A container that could not be started; the kubelet would try again."""


@dataclass
class Container:
    """resources: how many of each it asks for."""

    name: str
    resources: Mapping[str, int]
    init: bool = False
    given: dict[str, list[str]] = field(default_factory=dict)
    answers: dict[str, wire.ContainerAllocateResponse] = field(default_factory=dict)


@dataclass
class Pod:
    namespace: str
    name: str
    containers: list[Container]

    def container(self, name: str) -> Container:
        return next(container for container in self.containers if container.name == name)


@dataclass
class Started:
    """What a runtime is told of a container."""

    envs: dict[str, str]
    mounts: dict[str, str]  # of the host, by the container's path
    devices: set[str]
    cdi: set[str]


class Registered:
    """A resource at its plugin's socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.channel = channel(socket)
        self.lists: list[dict[str, bool]] = []
        self.topology: dict[str, list[int]] = {}
        self.alive = True
        self.following: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> set[str]:
        return {id_ for id_, healthy in self.lists[-1].items() if healthy} if self.alive and self.lists else set()

    async def ask(self, method: str, request, answer):
        return await call(self.channel, f"v1beta1.DevicePlugin/{method}", request, answer, 10)

    async def follow(self) -> None:
        watch = self.channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=wire.Empty.SerializeToString,
            response_deserializer=wire.ListAndWatchResponse.FromString,
        )
        try:
            async for told in watch(wire.Empty()):
                self.topology = {each.ID: [node.ID for node in each.topology.nodes] for each in told.devices}
                self.lists.append({each.ID: each.health == "Healthy" for each in told.devices})
        except grpc.aio.AioRpcError:
            pass
        self.alive = False

    async def close(self) -> None:
        if self.following is not None:
            self.following.cancel()
            await asyncio.gather(self.following, return_exceptions=True)
        await self.channel.close()


class FakeKubelet:
    """root: its folder. podresources: the version that it speaks; None: it says nothing."""

    def __init__(self, root: Path, *, podresources: str | None = "v1", seed: int = 1) -> None:
        self.plugins, self._pod_resources_dir = root / "device-plugins", root / "pod-resources"
        self.plugins.mkdir(parents=True, exist_ok=True)
        self._pod_resources_dir.mkdir(exist_ok=True)
        self.podresources = podresources
        self.pods: list[Pod] = []
        self.endpoints: dict[str, Registered] = {}
        self.registrations: list[str] = []
        self.faults: list[str] = []
        self._any = random.Random(seed)
        self._servers: list[grpc.aio.Server] = []

    async def __aenter__(self) -> FakeKubelet:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        for file in self.plugins.iterdir():
            file.unlink()
        await self._serve(self.plugins / "kubelet.sock", "v1beta1.Registration", {"Register": self._register}, wire)
        if self.podresources is not None:
            module = PODRESOURCES[self.podresources]
            service = f"{self.podresources}.PodResourcesLister"
            await self._serve(self._pod_resources_dir / "kubelet.sock", service, {"List": self._list}, module)

    async def stop(self) -> None:
        """It forgets the plugins, and keeps in mind what it gave to whom."""
        for server in self._servers:
            await server.stop(0)
        self._servers = []
        for endpoint in self.endpoints.values():
            await endpoint.close()
        self.endpoints = {}

    async def restart(self, resources: Iterable[str]) -> list[str]:
        """And wait for the plugins; the pods that are not admitted again, as newer kubelets do."""
        await self.stop()
        await self.start()
        await self.ready(*resources)
        return [pod.name for pod in self.pods if not self.has_its_own(pod)]

    async def ready(self, *resources: str, within: float = 60.0) -> None:
        """Until each is registered by a plugin that is there, and has sent a list."""
        await until(lambda: all(self.lists(resource) for resource in resources), within)

    def lists(self, resource: str) -> list[dict[str, bool]]:
        endpoint = self.endpoints.get(resource)
        return endpoint.lists if endpoint and endpoint.alive else []

    def allocatable(self, resource: str) -> int:
        return len(self.endpoints[resource].healthy) if resource in self.endpoints else 0

    # Pods

    async def admit(self, pod: Pod) -> Pod:
        """All of its containers get what they ask for; AdmissionError, and nothing, where one does not."""
        self.pods.append(pod)
        left: dict[str, list[str]] = {}  # by init containers
        try:
            for container in sorted(pod.containers, key=lambda each: not each.init):
                asked = [*container.resources.items()]
                self._any.shuffle(asked)
                for resource, size in asked:
                    await self._allocate(container, resource, size, left)
        except AdmissionError:
            self.pods.remove(pod)
            raise
        return pod

    async def start_container(self, pod: Pod, name: str) -> Started:
        """What the runtime gets; StartError where the plugin does not let it start."""
        container = pod.container(name)
        for resource, ids in self._shuffled(container.given):
            request = wire.PreStartContainerRequest(devicesIDs=ids)
            try:
                await self.endpoints[resource].ask("PreStartContainer", request, wire.PreStartContainerResponse)
            except grpc.aio.AioRpcError as error:
                raise StartError(error.details()) from error
        started = Started({}, {}, set(), set())
        for _, answer in self._shuffled(container.answers):  # what came first stays
            for key, value in answer.envs.items():
                if started.envs.setdefault(key, value) != value:
                    self.faults.append(f"{key} has two values")
            for mount in answer.mounts:
                started.mounts.setdefault(mount.container_path, mount.host_path)
            started.devices |= {device.host_path for device in answer.devices}
            started.cdi |= {device.name for device in answer.cdi_devices}
        return started

    def remove(self, pod: Pod) -> None:
        self.pods.remove(pod)

    async def _allocate(self, container: Container, resource: str, size: int, left: dict[str, list[str]]) -> None:
        endpoint = self.endpoints.get(resource)
        reused = [] if container.init else self._some(left.get(resource, []), size)
        held = {id_ for pod in self.pods for each in pod.containers for id_ in each.given.get(resource, [])}
        free = sorted((endpoint.healthy if endpoint else set()) - held)
        if endpoint is None or not endpoint.alive or len(free) + len(reused) < size:
            said = f"Requested: {size}, Available: {len(free) + len(reused)}"
            raise AdmissionError(f"requested number of devices unavailable for {resource}. {said}")
        asked = wire.ContainerPreferredAllocationRequest(
            available_deviceIDs=[*reused, *free], must_include_deviceIDs=reused, allocation_size=size
        )
        try:
            request = wire.PreferredAllocationRequest(container_requests=[asked])
            preferred = await endpoint.ask("GetPreferredAllocation", request, wire.PreferredAllocationResponse)
            ids = [id_ for id_ in preferred.container_responses[0].deviceIDs if id_ in {*reused, *free}][:size]
            ids += [id_ for id_ in free if id_ not in ids][: size - len(ids)]
            ask = wire.AllocateRequest(container_requests=[wire.ContainerAllocateRequest(devicesIDs=ids)])
            answer = await endpoint.ask("Allocate", ask, wire.AllocateResponse)
        except grpc.aio.AioRpcError as error:
            raise AdmissionError(f"Allocate failed due to {error.details()}, which is unexpected") from error
        container.given[resource] = ids
        container.answers[resource] = answer.container_responses[0]
        if container.init:
            left[resource] = ids
        else:
            left[resource] = [id_ for id_ in left.get(resource, []) if id_ not in ids]

    def has_its_own(self, pod: Pod) -> bool:
        return all(
            set(ids) <= self.endpoints[resource].healthy
            for container in pod.containers
            for resource, ids in container.given.items()
        )

    def _some(self, ids: list[str], size: int) -> list[str]:
        """So many of them, whichever."""
        return self._any.sample(ids, min(size, len(ids)))

    def _shuffled(self, things: Mapping):
        items = [*things.items()]
        self._any.shuffle(items)
        return items

    # What it serves

    async def _register(self, request: wire.RegisterRequest) -> wire.Empty:
        """At once it calls back, as the real one does before it answers or right after."""
        endpoint = Registered(self.plugins / request.endpoint)
        try:
            await endpoint.ask("GetDevicePluginOptions", wire.Empty(), wire.DevicePluginOptions)
        except grpc.aio.AioRpcError as error:
            self.faults.append(f"{request.resource_name} was registered before it was served: {error.code()}")
        old = self.endpoints.get(request.resource_name)
        if old is not None:
            await old.close()
        endpoint.following = asyncio.create_task(endpoint.follow())
        self.endpoints[request.resource_name] = endpoint
        self.registrations.append(request.resource_name)
        return wire.Empty()

    async def _list(self, _: object):
        module = PODRESOURCES[str(self.podresources)]
        return module.ListPodResourcesResponse(
            pod_resources=[
                module.PodResources(
                    name=pod.name,
                    namespace=pod.namespace,
                    containers=[
                        module.ContainerResources(name=each.name, devices=self._told(module, each))
                        for each in pod.containers
                        if not each.init
                    ],
                )
                for pod in self.pods
            ]
        )

    def _told(self, module, container: Container) -> list:
        """In two halves, as v1 does where a container's devices are on two NUMA nodes."""
        return [
            module.ContainerDevices(resource_name=resource, device_ids=half)
            for resource, ids in container.given.items()
            for half in (ids[::2], ids[1::2])
            if half
        ]

    async def _serve(self, socket: Path, service: str, methods, module) -> None:
        socket.unlink(missing_ok=True)
        server = grpc.aio.server()

        def handler(name: str, answer):
            question = {"Register": "RegisterRequest", "List": "ListPodResourcesRequest"}[name]

            async def handle(request, _):
                return await answer(request)

            return grpc.unary_unary_rpc_method_handler(
                handle,
                request_deserializer=getattr(module, question).FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )

        handlers = {name: handler(name, answer) for name, answer in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(f"unix://{socket}")
        await server.start()
        self._servers.append(server)


async def until(condition, within: float = 60.0) -> None:
    """Until it is true."""
    end = asyncio.get_running_loop().time() + within
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it did not become true"
        await asyncio.sleep(0.005)


def pod(name: str, *containers: Container, namespace: str = "default", **resources: int) -> Pod:
    """With those containers, or one named main. resources: under flexnpu.io/."""
    main = [Container("main", {f"flexnpu.io/{short}": size for short, size in resources.items()})]
    return Pod(namespace, name, [*containers] or main)
