drop table idempotency_keys;
drop table task_attempts;
drop table tasks;
drop function tasks_deleted();
drop function tasks_truncated();
drop table schedules;
drop table queues;
drop table workers;
