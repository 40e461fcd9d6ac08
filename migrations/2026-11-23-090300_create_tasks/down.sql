drop table idempotency_keys;
drop table task_attempts;
drop table tasks;
drop table schedules;
drop table queues;
drop table workers;
