set local lock_timeout = '5s';

-- A task is written three times: when it is enqueued, claimed, and ended. What is checked of values that never change
-- again is checked when they are given, by their types, and not each time: that was an eighth of the work.
create domain task_name as text constraint task_name_length check (char_length(value) between 1 and 100);
create domain task_key as text constraint task_key_length check (char_length(value) between 1 and 200);
create domain task_payload as jsonb constraint task_payload_is_object check (jsonb_typeof(value) = 'object');
create domain task_priority as smallint constraint task_priority_in_range check (value between -100 and 100);
create domain task_attempts_allowed as int constraint task_attempts_in_range check (value between 1 and 100);
create domain task_timeout as int constraint task_timeout_positive check (value > 0);

-- Every statement here says when it changed a row. Asking for each row whether it did was a tenth.
drop trigger tasks_updated_at on tasks;

drop index tasks_owner;

alter table tasks
    drop constraint tasks_task_type_check,
    drop constraint tasks_payload_check,
    drop constraint tasks_priority_check,
    drop constraint tasks_attempt_check,
    drop constraint tasks_max_attempts_check,
    drop constraint tasks_retry_count_check,
    drop constraint tasks_crashes_check,
    drop constraint tasks_timeout_secs_check,
    drop constraint tasks_unique_key_check,
    alter column task_type type task_name,
    alter column payload type task_payload,
    alter column priority type task_priority,
    alter column max_attempts type task_attempts_allowed,
    alter column timeout_secs type task_timeout,
    alter column unique_key type task_key;

-- Tasks of the system have no owner to be found by.
create index tasks_owner on tasks (created_by, id) where created_by is not null;
