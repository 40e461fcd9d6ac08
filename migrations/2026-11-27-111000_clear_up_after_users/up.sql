set local lock_timeout = '5s';

-- Users who were deactivated or deleted, whose tasks are to be cleared up: cancelled, and of a deleted user disowned too.
-- Written in the transaction that changes the user, also by plain SQL; maintenance of any process does the work in steps.
create table departed_users (
    user_id uuid primary key,
    is_deleted boolean not null,
    departed_at timestamptz not null default statement_timestamp(),
    -- Tasks that were made before this are cancelled: a request that began before the change may enqueue one after it.
    cancel_before timestamptz not null default statement_timestamp() + interval '1 minute'
);
comment on table departed_users is 'Users whose tasks are being cancelled because they were deactivated or deleted.';

create function users_departed() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.is_active then
        update departed_users set cancel_before = least(cancel_before, statement_timestamp())
        where user_id = new.id and not is_deleted;
        return null;
    end if;
    insert into departed_users (user_id, is_deleted) values (old.id, tg_op = 'DELETE')
    on conflict (user_id) do update set is_deleted = excluded.is_deleted, departed_at = excluded.departed_at,
        cancel_before = excluded.cancel_before;
    return null;
end
$$;
create trigger users_note_deactivation after update on users for each row
    when (old.is_active is distinct from new.is_active) execute function users_departed();
create trigger users_note_deletion after delete on users for each row execute function users_departed();

-- A foreign key would take all tasks of a deleted user from that user in one statement, however many there are.
alter table tasks drop constraint tasks_created_by_fkey;
create function tasks_check_owners() returns trigger language plpgsql as $$
begin
    if exists (
        select from added
        where created_by is not null and not exists (select from users where users.id = added.created_by)
    ) then
        raise exception 'the owner of a task does not exist'
            using errcode = 'foreign_key_violation', constraint = 'tasks_created_by_fkey', table = 'tasks';
    end if;
    return null;
end
$$;
create trigger tasks_check_owners after insert on tasks
    referencing new table as added for each statement execute function tasks_check_owners();
