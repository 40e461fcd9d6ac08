set local lock_timeout = '5s';

drop index tasks_of_owner_by_stage;
drop index tasks_due_of_owner;
