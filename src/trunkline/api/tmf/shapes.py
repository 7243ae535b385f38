"""The shapes of TMF654 and TMF635 v4 that we read and write; what else a sender adds is passed over.

Numbers are decimals on the way in, so that no amount is ever a float.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

Text = Annotated[str, Field(max_length=500)]
UsageTypeName = Literal["monetary", "voice", "data", "sms", "other"]


class Resource(BaseModel):
    """TM Forum lets senders extend anything."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Quantity(Resource):
    """An amount and its unit: the currency; ms, s, min, h; B to TB and KiB to TiB; events."""

    amount: Decimal
    units: Annotated[str, Field(min_length=1, max_length=20)]


class Reference(Resource):
    """Something that is named by its id."""

    id: Annotated[str, Field(min_length=1, max_length=500)]
    href: Text | None = None
    name: Text | None = None
    referred_type: Text | None = Field(None, alias="@referredType")


class TimePeriod(Resource):
    """From when until when."""

    start_date_time: Text | None = Field(None, alias="startDateTime")
    end_date_time: Text | None = Field(None, alias="endDateTime")


class MovementCreate(Resource):
    """What top-ups and adjustments have in common."""

    amount: Quantity
    usage_type: UsageTypeName = Field(alias="usageType")
    bucket: Reference
    description: Text | None = None
    reason: Text | None = None
    logical_resource: list[Reference] = Field(default_factory=list, alias="logicalResource", max_length=10)
    valid_for: TimePeriod | None = Field(None, alias="validFor")


class TopupBalanceCreate(MovementCreate):
    """A top-up to be booked."""

    party_account: Reference = Field(alias="partyAccount")
    is_auto_topup: bool = Field(default=False, alias="isAutoTopup")
    amount: Quantity = Quantity(amount=Decimal(0), units="EUR")  # not looked at beside a voucher
    voucher: Text | None = None
    recurring_period: Text | None = Field(None, alias="recurringPeriod")


class AdjustBalanceCreate(MovementCreate):
    """An adjustment to be booked; a negative amount takes away."""

    party_account: Reference | None = Field(None, alias="partyAccount")
    adjust_type: Literal["recurring", "oneTime"] = Field("oneTime", alias="adjustType")


class UsageCharacteristic(Resource):
    """One attribute of usage, by the name it has in our own schema."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    value: Any


class RelatedParty(Reference):
    """Whom usage concerns; the one with the role `subscriber` pays."""

    role: Text | None = None


class UsageCreate(Resource):
    """Usage to be charged."""

    usage_type: Annotated[str, Field(alias="usageType", min_length=1, max_length=20)]
    usage_date: Annotated[str, Field(alias="usageDate", min_length=1, max_length=40)]
    description: Text | None = None
    related_party: list[RelatedParty] = Field(default_factory=list, alias="relatedParty", max_length=10)
    usage_characteristic: list[UsageCharacteristic] = Field(
        default_factory=list, alias="usageCharacteristic", max_length=100
    )


class EventSubscriptionInput(Resource):
    """An address that wants to be told."""

    callback: HttpUrl
    query: Text | None = None


class Bucket(BaseModel):
    """A balance of a subscriber."""

    model_config = ConfigDict(extra="allow")
    id: str
    href: str


class TopupBalance(Bucket):
    """A top-up that was booked or refused."""


class AdjustBalance(Bucket):
    """An adjustment that was booked or refused."""


class BalanceAction(Bucket):
    """A top-up or adjustment in a subscriber's history."""


class AccumulatedBalance(Bucket):
    """What all active balances of one kind hold together."""


class Usage(Bucket):
    """A use and what it cost."""


class UsageSpecification(Bucket):
    """A kind of usage and its attributes."""


class EventSubscription(BaseModel):
    """A registered address."""

    id: str
    callback: str
    query: str
