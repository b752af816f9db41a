"""Mail: rows first, sent by a job; what somebody is told, and what became of telling them."""
