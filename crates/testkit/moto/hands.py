"""Hands for moto's ECS: tasks that exist, run and are health-checked, and load balancers that proxy.

Moto keeps ECS's records; nothing ever happens. Here a loop compares each service with its tasks, starts and stops them (as
real processes when a program is named), and writes back what it sees: counts, deployments, target health.
"""

import ctypes
import functools
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass, field

import proxy
from moto.core.utils import utcnow
from moto.ecs.models import EC2ContainerServiceBackend, Task, ecs_backends
from moto.elbv2.models import (
    ELBv2Backend,
    FakeHealthStatus,
    FakeTargetGroup,
    elbv2_backends,
)
from moto.ssm.models import ssm_backends

TICK = 0.1
# As ECS: a deployment fails after half its desired count of failed tasks, but not before the third.
FEWEST_FAILURES = 3
# A target that was taken out still answers what it was asked before.
DRAIN = 1.0
STOP = 5.0
LINGER = 5.0
DIE_WITH_PARENT = 1


@dataclass
class Running:
    """One task: moto's record of it, and its process and targets if it has any."""

    record: Task
    process: subprocess.Popen | None = None
    port: int | None = None
    targets: list = field(default_factory=list)
    stopped_at: float | None = None


@dataclass
class Watched:
    """One service and its tasks."""

    tasks: list = field(default_factory=list)
    proven: str | None = None


class Hands:
    """The data plane of every service and load balancer that moto knows."""

    def __init__(self, program):
        """`program` is what a task runs, as a shell would split it; without it tasks are records only."""
        self.program = shlex.split(program) if program else None
        self.watched = {}
        self.health = {}
        self.listeners = {}
        self.lock = threading.RLock()
        self.stopping = threading.Event()

    def start(self):
        """Begin to work."""
        threading.Thread(target=self._loop, daemon=True).start()
        threading.Thread(target=self._check_loop, daemon=True).start()

    def stop(self):
        """End every process."""
        self.stopping.set()
        with self.lock:
            for service in self.watched.values():
                for task in service.tasks:
                    if task.process:
                        task.process.kill()

    def describe(self):
        """Where each load balancer's listeners really are, and what runs."""
        with self.lock:
            balancers = {}
            for listener in self.listeners.values():
                balancers.setdefault(listener.balancer, {})[listener.role] = (
                    listener.port
                )
            tasks = {
                name: [
                    {"id": task.record.id, "port": task.port}
                    for task in service.tasks
                    if task.stopped_at is None
                ]
                for (_, _, name), service in self.watched.items()
            }
        return {"load_balancers": balancers, "tasks": tasks}

    def _loop(self):
        while not self.stopping.wait(TICK):
            for account, backends in list(ecs_backends.items()):
                for region, backend in list(backends.items()):
                    for service in list(backend.services.values()):
                        with self.lock:
                            self._reconcile(account, region, backend, service)
            for account, backends in list(elbv2_backends.items()):
                for backend in list(backends.values()):
                    self._listen(backend)

    # Tasks

    def _reconcile(self, account, region, backend, service):
        key = (region, service.cluster_name, service.name)
        watched = self.watched.setdefault(key, Watched())
        deployment = next(
            (d for d in service.deployments if d["status"] == "PRIMARY"), None
        )
        self._bury(backend, deployment, watched)
        alive = [task for task in watched.tasks if task.stopped_at is None]
        wanted = service.desired_count if service.status == "ACTIVE" else 0
        current = [
            task
            for task in alive
            if task.record.task_definition_arn == service.task_definition
        ]
        old = [task for task in alive if task not in current]

        failed = deployment is not None and deployment["rolloutState"] == "FAILED"
        if not failed:
            for _ in range(wanted - len(current)):
                started = self._run(account, region, backend, service, deployment)
                watched.tasks.append(started)
                current.append(started)
        for task in current[wanted:]:
            self._end(backend, task, "Scaling activity initiated")
        current = current[:wanted]
        ready = [task for task in current if self._ready(task)]
        if not failed and len(ready) >= wanted:
            for task in old:
                self._end(backend, task, "Task replaced by a new deployment")
            old = []
        self._record(service, deployment, watched, wanted, current, ready, old)

    def _record(self, service, deployment, watched, wanted, current, ready, old):
        service.running_count = len(current) + len(old)
        service.pending_count = max(wanted - len(current), 0)
        if deployment is None:
            return
        deployment["desiredCount"] = wanted
        deployment["runningCount"] = len(current)
        deployment["pendingCount"] = service.pending_count
        done = len(ready) >= wanted and not old
        if deployment["rolloutState"] == "IN_PROGRESS" and done:
            deployment["rolloutState"] = "COMPLETED"
            deployment["rolloutStateReason"] = (
                f"ECS deployment {deployment['id']} completed."
            )
            deployment["updatedAt"] = utcnow()
            watched.proven = service.task_definition
        elif deployment["rolloutState"] == "IN_PROGRESS":
            self._break(service, deployment, watched, wanted)
        if deployment["rolloutState"] == "COMPLETED":
            service.deployments = [
                entry
                for entry in service.deployments
                if entry is deployment or lingers(entry)
            ]

    def _break(self, service, deployment, watched, wanted):
        if deployment["failedTasks"] < max(FEWEST_FAILURES, -(-wanted // 2)):
            return
        configuration = getattr(service, "deployment_configuration", None) or {}
        breaker = configuration.get("deploymentCircuitBreaker", {})
        if not breaker.get("enable"):
            return
        deployment["rolloutState"] = "FAILED"
        deployment["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start."
        deployment["updatedAt"] = utcnow()
        if breaker.get("rollback") and watched.proven not in (
            None,
            service.task_definition,
        ):
            service.task_definition = watched.proven
            deploy(service)

    def _bury(self, backend, deployment, watched):
        now = time.monotonic()
        for task in list(watched.tasks):
            exited = task.process is not None and task.process.poll() is not None
            if task.stopped_at is None and exited:
                if deployment is not None:
                    deployment["failedTasks"] += 1
                reason = "Essential container in task exited"
                self._end(backend, task, reason, exit_code=task.process.returncode)
            if task.stopped_at is None:
                continue
            since = now - task.stopped_at
            if task.process is None or exited:
                watched.tasks.remove(task)
            elif since > DRAIN + STOP:
                task.process.kill()
            elif since > DRAIN:
                task.process.terminate()

    def _run(self, account, region, backend, service, deployment):
        cluster = backend._get_cluster(service.cluster_name)
        definition = backend.describe_task_definition(service.task_definition)
        record = Task(
            cluster,
            definition,
            None,
            None,
            backend,
            f"service:{service.name}",
            launch_type="FARGATE",
            started_by=deployment["id"] if deployment else "",
            tags=list(service.tags),
            networking_configuration=service.network_configuration,
        )
        record.status = "RUNNING"
        for container in record.containers:
            container.last_status = "RUNNING"
            container.task_arn = record.task_arn
            _, at, digest = (container.image or "").partition("@")
            container.image_digest = digest if at else None
            # ECS answers with texts here; moto passes the task definition's numbers on.
            container.cpu = str(container.cpu or 0)
            container.memory = None if container.memory is None else str(container.memory)
        backend.tasks.setdefault(cluster.name, {})[record.task_arn] = record
        task = Running(record)
        if self.program:
            task.port = free_port()
            task.process = self._spawn(account, region, definition, task.port)
        self._register(account, region, service, task)
        return task

    def _spawn(self, account, region, definition, port):
        container = definition.container_definitions[0]
        environment = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LD_LIBRARY_PATH")
            if name in os.environ
        }
        for pair in container.get("environment") or []:
            environment[pair["name"]] = pair["value"]
        for secret in container.get("secrets") or []:
            name = secret["valueFrom"].partition(":parameter")[2] or secret["valueFrom"]
            parameter = ssm_backends[account][region].get_parameter(name)
            if parameter is not None:
                environment[secret["name"]] = parameter.decrypt(parameter.value)
        environment["PORT"] = str(port)
        environment["SERVICE"] = container["name"]
        return subprocess.Popen(
            self.program,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )

    def _register(self, account, region, service, task):
        address = "127.0.0.1"
        if not self.program:
            details = (task.record.attachments or [{"details": []}])[0]["details"]
            address = next(
                (d["value"] for d in details if d["name"] == "privateIPv4Address"),
                address,
            )
        for balancer in service.load_balancers:
            group = elbv2_backends[account][region].target_groups.get(
                balancer.get("targetGroupArn")
            )
            if group is not None:
                port = task.port or balancer.get("containerPort")
                target = {"Id": address, "Port": port}
                group.register([target])
                task.targets.append((group, target))

    def _end(self, backend, task, reason, exit_code=0):
        for group, target in task.targets:
            group.deregister([target])
            self.health.pop((group.arn, target["Port"]), None)
        task.stopped_at = time.monotonic()
        task.record.status = "STOPPED"
        task.record.desired_status = "STOPPED"
        task.record.stopped_reason = reason
        for container in task.record.containers:
            container.last_status = "STOPPED"
            container.exitCode = exit_code

    def _ready(self, task):
        if task.process is None:
            return True
        return all(
            self.health.get((group.arn, target["Port"])) == "healthy"
            for group, target in task.targets
        )

    # Health

    def _check_loop(self):
        while not self.stopping.wait(TICK * 2):
            with self.lock:
                asked = [
                    (group, target["Port"])
                    for service in self.watched.values()
                    for task in service.tasks
                    if task.process is not None and task.stopped_at is None
                    for group, target in task.targets
                ]
            for group, port in asked:
                answer = ask(port, group.health_check_path or "/")
                before = self.health.get((group.arn, port))
                if answer:
                    self.health[group.arn, port] = "healthy"
                elif before is not None:
                    self.health[group.arn, port] = "unhealthy"

    def health_of(self, group, target):
        """What a check of this target last said, as ELB words it; None if it is not one of a process."""
        if not self.program or target["Id"] != "127.0.0.1":
            return None
        port = int(target["Port"])
        state = self.health.get((group.arn, port), "initial")
        reason = {
            "initial": "Elb.InitialHealthChecking",
            "unhealthy": "Target.FailedHealthChecks",
        }.get(state)
        return FakeHealthStatus(
            target["Id"], port, "traffic-port", state, reason, reason
        )

    # Load balancers

    def _listen(self, backend):
        for balancer in list(backend.load_balancers.values()):
            for listener in list(balancer.listeners.values()):
                if listener.arn not in self.listeners:
                    tags = backend.describe_tags([listener.arn])[listener.arn]
                    role = tags.get("liftlock:listener", str(listener.port))
                    opened = proxy.Listener(
                        balancer.name, role, backend, listener, self.health
                    )
                    with self.lock:
                        self.listeners[listener.arn] = opened
        known = {
            listener.arn
            for balancer in backend.load_balancers.values()
            for listener in balancer.listeners.values()
        }
        for arn, opened in list(self.listeners.items()):
            if opened.backend is backend and arn not in known:
                with self.lock:
                    del self.listeners[arn]
                opened.close()


def lingers(deployment):
    """Whether a failed deployment is still listed: ECS shows it for a while after it was rolled back."""
    if deployment["rolloutState"] != "FAILED":
        return False
    return (utcnow() - deployment["updatedAt"]).total_seconds() < LINGER


def deploy(service):
    """Put a new deployment of the service's task definition before the older ones, as ECS does."""
    for older in service.deployments:
        older["status"] = "ACTIVE"
    now = utcnow()
    identity = f"ecs-svc/{uuid.uuid4().int % 10**19}"
    service.deployments = [
        {
            "createdAt": now,
            "desiredCount": service.desired_count,
            "failedTasks": 0,
            "id": identity,
            "launchType": service.launch_type,
            "pendingCount": service.desired_count,
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": f"ECS deployment {identity} in progress.",
            "runningCount": 0,
            "networkConfiguration": service.network_configuration,
            "platformFamily": "Linux",
            "status": "PRIMARY",
            "taskDefinition": service.task_definition,
            "updatedAt": now,
        },
        *service.deployments[:2],
    ]


def attach(data_plane):
    """Tell the data plane of what moto would otherwise only note down."""
    original_update = EC2ContainerServiceBackend.update_service

    @functools.wraps(original_update)
    def update_service(self, service_properties):
        with data_plane.lock:
            cluster = service_properties.get("cluster", "default")
            service = self._get_service(cluster, service_properties["service"])
            before = (service.task_definition, service.running_count)
            forced = service_properties.get("force_new_deployment")
            scaled = service.desired_count
            original_update(self, service_properties)
            service.running_count = before[1]
            definition = self.describe_task_definition(service.task_definition)
            service.task_definition = definition.arn
            if forced or service.task_definition != before[0]:
                deploy(service)
            elif service.desired_count != scaled:
                service.deployments[0]["desiredCount"] = service.desired_count
                service.deployments[0]["rolloutState"] = "IN_PROGRESS"
            return service

    original_health = FakeTargetGroup.health_for

    @functools.wraps(original_health)
    def health_for(self, target, ec2_backend):
        port = int(target.get("Port") or self.port)
        name = f"{target['Id']}:{port}"
        if name in self.targets:
            return data_plane.health_of(
                self, {"Id": target["Id"], "Port": port}
            ) or FakeHealthStatus(target["Id"], port, "traffic-port", "healthy")
        return FakeHealthStatus(
            target["Id"],
            port,
            "traffic-port",
            "unused",
            "Target.NotRegistered",
            "Target is not registered to the target group",
        )

    original_balancer = ELBv2Backend.create_load_balancer

    @functools.wraps(original_balancer)
    def create_load_balancer(self, *args, **kwargs):
        """The name that resolves to where its listeners are."""
        balancer = original_balancer(self, *args, **kwargs)
        balancer.dns_name = "127.0.0.1"
        return balancer

    EC2ContainerServiceBackend.update_service = update_service
    FakeTargetGroup.health_for = health_for
    ELBv2Backend.create_load_balancer = create_load_balancer


def ask(port, path):
    """Whether a target's health check is answered with 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


def free_port():
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent():
    """In a task's process, before it is the program: end when this server ends, however that ends (Linux only)."""
    try:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    except (OSError, AttributeError):
        pass
