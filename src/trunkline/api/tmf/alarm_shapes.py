"""The shapes of TMF642 v4 that we read and write; what else a sender adds is passed over.

Field names follow the published specification (TMF642 Alarm Management API v4.0.0).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trunkline.api.tmf.shapes import Resource

Text = Annotated[str, Field(max_length=2000)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[str, Field(min_length=10, max_length=40)]
AckState = Literal["acknowledged", "unacknowledged"]
State = Literal["raised", "updated", "cleared"]
SECURITY_TYPES = (  # X.736 8.1.1
    "integrityViolation", "operationalViolation", "physicalViolation", "securityServiceOrMechanismViolation",
    "timeDomainViolation", "securityService", "mechanismViolation",
)  # fmt: skip


class AlarmedObject(Resource):
    """What the alarm is about: the name of a cell, router or link."""

    id: Word
    href: Text | None = None


class Said(Resource):
    """What a caller may say of an alarm and is kept as it was said."""

    ack_system_id: Text | None = Field(None, alias="ackSystemId")
    ack_user_id: Text | None = Field(None, alias="ackUserId")
    alarm_details: Text | None = Field(None, alias="alarmDetails")
    alarm_escalation: bool | None = Field(None, alias="alarmEscalation")
    alarm_reporting_time: Moment | None = Field(None, alias="alarmReportingTime")
    alarmed_object_type: Text | None = Field(None, alias="alarmedObjectType")
    clear_system_id: Text | None = Field(None, alias="clearSystemId")
    clear_user_id: Text | None = Field(None, alias="clearUserId")
    external_alarm_id: Text | None = Field(None, alias="externalAlarmId")
    is_root_cause: bool | None = Field(None, alias="isRootCause")
    planned_outage_indicator: Text | None = Field(None, alias="plannedOutageIndicator")
    proposed_repaired_actions: Text | None = Field(None, alias="proposedRepairedActions")
    reporting_system_id: Text | None = Field(None, alias="reportingSystemId")
    service_affecting: bool | None = Field(None, alias="serviceAffecting")
    affected_service: list[dict[str, Any]] | None = Field(None, alias="affectedService", max_length=100)
    comment: list[dict[str, Any]] | None = Field(None, max_length=100)
    correlated_alarm: list[dict[str, Any]] | None = Field(None, alias="correlatedAlarm", max_length=1000)
    parent_alarm: list[dict[str, Any]] | None = Field(None, alias="parentAlarm", max_length=100)
    place: list[dict[str, Any]] | None = Field(None, max_length=100)
    crossed_threshold_information: dict[str, Any] | None = Field(None, alias="crossedThresholdInformation")


class AlarmCreate(Said):
    """An alarm to be raised."""

    alarm_type: Word = Field(alias="alarmType")
    perceived_severity: Word = Field(alias="perceivedSeverity")
    probable_cause: Word = Field(alias="probableCause")
    specific_problem: Text | None = Field(None, alias="specificProblem")
    alarmed_object: AlarmedObject = Field(alias="alarmedObject")
    source_system_id: Word = Field(alias="sourceSystemId")
    state: State
    alarm_raised_time: Moment = Field(alias="alarmRaisedTime")
    ack_state: AckState | None = Field(None, alias="ackState")


class AlarmUpdate(Said):
    """What is to be changed of an alarm."""

    alarm_type: Text | None = Field(None, alias="alarmType")
    perceived_severity: Word | None = Field(None, alias="perceivedSeverity")
    probable_cause: Text | None = Field(None, alias="probableCause")
    specific_problem: Text | None = Field(None, alias="specificProblem")
    state: State | None = None
    ack_state: AckState | None = Field(None, alias="ackState")


class Task(Resource):
    """A task on the alarms that match any of the patterns."""

    alarm_pattern: list[dict[str, Any]] = Field(alias="alarmPattern", min_length=1, max_length=1000)
    state: Text | None = None


class AckAlarms(Task):
    """Alarms to be acknowledged, or whose acknowledgement is taken back."""

    ack_system_id: Word = Field(alias="ackSystemId")
    ack_user_id: Word = Field(alias="ackUserId")
    ack_time: Moment | None = Field(None, alias="ackTime")


class ClearAlarms(Task):
    """Alarms to be cleared."""

    clear_system_id: Word = Field(alias="clearSystemId")
    clear_user_id: Word = Field(alias="clearUserId")
    alarm_cleared_time: Moment = Field(alias="alarmClearedTime")


class Comment(Resource):
    """What somebody said of an alarm."""

    comment: Annotated[str, Field(min_length=1, max_length=2000)]
    system_id: Text | None = Field(None, alias="systemId")
    user_id: Text | None = Field(None, alias="userId")
    time: Moment | None = None


class CommentAlarms(Task):
    """Alarms to be commented."""

    comment: Comment


class GroupAlarms(Resource):
    """Alarms that belong under a parent, or no longer."""

    source_system_id: Word = Field(alias="sourceSystemId")
    alarm_changed_time: Moment = Field(alias="alarmChangedTime")
    parent_alarm: dict[str, Any] = Field(alias="parentAlarm")
    correlated_alarm: list[dict[str, Any]] = Field(alias="correlatedAlarm", min_length=1, max_length=1000)
    state: Text | None = None


class Alarm(BaseModel):
    """An alarm as it stands."""

    model_config = ConfigDict(extra="allow")
    id: int
    href: str


class TaskDone(BaseModel):
    """A task and the alarms it was carried out on."""

    model_config = ConfigDict(extra="allow")
    id: str
    href: str
