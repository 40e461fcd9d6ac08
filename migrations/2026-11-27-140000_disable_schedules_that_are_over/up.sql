set local lock_timeout = '5s';

alter table schedules add column disabled_reason text;
comment on column schedules.disabled_reason is 'Why the service disabled the schedule; null when a person did.';
