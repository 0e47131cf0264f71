"""Mends what moto 5.2 forgets of what it was told, so that a second Terraform plan is empty.

Each function replaces one method and says what AWS does that moto does not. The Terraform modules are never bent for moto.
"""

import functools
import uuid

from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ecs.models import EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elbv2.models import FakeTargetGroup
from moto.rds.models import DBInstance, DBParameterGroup

KEPT = {
    "healthCheckGracePeriodSeconds": "health_check_grace_period_seconds",
    "deploymentConfiguration": "deployment_configuration",
    "availabilityZoneRebalancing": "availability_zone_rebalancing",
    "enableECSManagedTags": "enable_ecs_managed_tags",
    "enableExecuteCommand": "enable_execute_command",
}


def parameter_source():
    """RDS marks a parameter that somebody set with `Source = user`; moto leaves the source out."""
    original = DBParameterGroup.update_parameters

    @functools.wraps(original)
    def update_parameters(self, new_parameters):
        original(self, [{**new, "Source": "user"} for new in new_parameters])

    DBParameterGroup.update_parameters = update_parameters


def service_settings():
    """ECS gives back every setting of a service; moto drops those of `KEPT` when it creates one."""
    original = EC2ContainerServiceResponse.create_service

    @functools.wraps(original)
    def create_service(self):
        result = original(self)
        service = self.ecs_backend._get_service(
            self._get_param("cluster", "default"), self._get_param("serviceName")
        )
        for parameter, attribute in KEPT.items():
            value = self._get_param(parameter)
            if value is not None:
                setattr(service, attribute, value)
        if not hasattr(service, "availability_zone_rebalancing"):
            service.availability_zone_rebalancing = "DISABLED"
        return result

    EC2ContainerServiceResponse.create_service = create_service


def tasks_of_a_service():
    """ListTasks filters by service, and lists running tasks unless told otherwise; moto does neither."""

    def list_tasks(
        self,
        cluster_str=None,
        container_instance=None,
        family=None,
        started_by=None,
        service_name=None,
        desiredStatus=None,
    ):
        cluster = self._get_cluster(cluster_str or "default")
        status = desiredStatus or "RUNNING"
        group = service_name and f"service:{service_name.split('/')[-1]}"
        return [
            task
            for task in list(self.tasks.get(cluster.name, {}).values())
            if task.desired_status == status
            and (not group or task.group == group)
            and (not started_by or task.started_by == started_by)
            and (not family or f"/{family}:" in task.task_definition_arn)
            and (
                not container_instance
                or container_instance in (task.container_instance_arn or "")
            )
        ]

    def describe_tasks(self, cluster_str, tasks):
        """As moto's, but a task does not begin to stop because somebody looked at it."""
        cluster = self._get_cluster(cluster_str)
        wanted = {name.split("/")[-1] for name in tasks}
        known = list(self.tasks.get(cluster.name, {}).values())
        return [task for task in known if task.id in wanted]

    EC2ContainerServiceBackend.list_tasks = list_tasks
    EC2ContainerServiceBackend.describe_tasks = describe_tasks


def targets_by_port():
    """A target is an address and a port; moto knows one port for each address only."""

    def key(group, target):
        return f"{target['Id']}:{target.get('Port') or group.port}"

    def register(self, targets):
        for target in targets:
            port = int(target.get("Port") or self.port)
            self.targets[key(self, target)] = {"Id": target["Id"], "Port": port}
            self.deregistered_targets.pop(key(self, target), None)

    def deregister(self, targets):
        for target in targets:
            gone = self.targets.pop(key(self, target), None)
            if gone:
                self.deregistered_targets[key(self, target)] = gone

    FakeTargetGroup.register = register
    FakeTargetGroup.deregister = deregister


def rule_descriptions():
    """A security group rule has a description whatever its other end is; moto shows those of address ranges only."""

    def description(self):
        return self.ip_range.get("Description") or self.source_group.get("Description")

    SecurityGroupRule.description = property(description)


def resource_ids_of_instances():
    """Every RDS instance has a resource id of its own, by which the provider finds it; moto gives all the same one."""
    original = DBInstance.__init__

    @functools.wraps(original)
    def init(self, *arguments, **named):
        original(self, *arguments, **named)
        self.dbi_resource_id = "db-" + uuid.uuid4().hex[:26].upper()

    DBInstance.__init__ = init


def mend():
    """Mend everything."""
    rule_descriptions()
    parameter_source()
    resource_ids_of_instances()
    service_settings()
    tasks_of_a_service()
    targets_by_port()
