"""Ways out to customers (`ports.AlertChannel`): webhooks, mail, and text messages by an HTTP gateway."""
