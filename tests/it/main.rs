//! Integration tests: the real application on a real PostgreSQL.
