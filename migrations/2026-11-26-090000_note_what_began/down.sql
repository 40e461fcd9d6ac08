set local lock_timeout = '5s';

drop trigger workers_leave_mark on workers;
drop function workers_leave_mark();
alter table task_claims drop column first_place, drop column begun_to;
alter table workers drop column begun_to;
