set local lock_timeout = '5s';

-- A worker that is killed leaves behind tasks that ran, and some that only waited there for their turn: for these its end
-- is no crash, nor an attempt. Each has a place in the order in which its worker begins them; the worker says up to which
-- place it may have begun, before it does. Workers of an older version do not: any of theirs may have.
alter table workers add column begun_to bigint not null default 0;
comment on column workers.begun_to is 'Tasks in places up to this one may have begun.';
alter table task_claims
    add column first_place bigint not null default 1,
    add column begun_to bigint not null default 9223372036854775807;
comment on column task_claims.first_place is 'The place of the first of the tasks; the others follow.';
comment on column task_claims.begun_to is 'Tasks in places up to this one may have begun, and those up to its worker''s.';

create function workers_leave_mark() returns trigger language plpgsql as $$
begin
    update task_claims set begun_to = old.begun_to where worker_id = old.id and begun_to < old.begun_to;
    return old;
end
$$;
create trigger workers_leave_mark before delete on workers for each row execute function workers_leave_mark();
