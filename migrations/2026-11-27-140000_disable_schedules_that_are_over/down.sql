set local lock_timeout = '5s';

alter table schedules drop column disabled_reason;
