"""The cluster's engine for money: workers on Kafka topics, one transaction for outputs, state changes and offsets."""
