"""The smallest tariff that has everything the API shows: plans with prices, money, allowances and a counter."""

from __future__ import annotations

from trunkline.charging.tariffs.compiling import compile_catalogue, empty_register

FILES = {
    "operator.yaml": """
operator:
  {name: Example Mobile, currency: EUR, time_zone: Europe/London, country_code: "44", home_plmn: [23415]}
destinations:
  uk_mobile: {prefixes: ["447"]}
  uk_fixed: {prefixes: ["441", "442"]}
schedules:
  office:
    - {band: peak, days: [mon, tue, wed, thu, fri], from: "08:00", to: "19:00"}
    - {band: off_peak}
rates:
  national: {price: "0.10", per: 60s, increments: [60s, 1s], connect_fee: "0.05"}
  cheap: {price: "0.05", per: 60s, increments: [1s]}
  data_mb: {price: "0.01", per: 1MB, increments: [1KB]}
  message: {price: "0.05", per: 1}
balances:
  main: {unit: money, main: true, low: ["5.00", "1.00"], hysteresis: "0.50"}
  minutes_100:
    {unit: time, grant: 100m, every: month, usage: [voice], to: [uk_mobile, uk_fixed], priority: 10,
     thresholds: [50, 80, 100], hysteresis: 5}
  data_1gb: {unit: octets, usage: [data], priority: 20}
counters:
  spend: {unit: money, every: month, cap: "50.00", thresholds: [50, 80, 100], hysteresis: 5}
""",
    "payg.yaml": """
plan: payg
effective: 2026-01-01
payment: prepaid
includes: [minutes_100]
counters: [spend]
prices:
  - {usage: voice, to: [uk_mobile, uk_fixed], schedule: office, rate: {peak: national, off_peak: cheap}}
  - {usage: voice, to: any, rate: national, max_cost: "20.00"}
  - {usage: data, class: any, rate: data_mb}
  - {usage: [sms, iot], to: any, rate: message}
""",
}

CATALOGUE, _ = compile_catalogue(FILES, empty_register())
MAIN = CATALOGUE.balances.index("main")
MINUTES = CATALOGUE.balances.index("minutes_100")
PAYG = CATALOGUE.plans.index("payg")
