set local lock_timeout = '5s';

-- What `jsonb` cannot hold (a number of more than 131,072 digits) is kept as a string, so that the way back never fails.
create function pg_temp.as_jsonb(payload json) returns jsonb language plpgsql as $$
begin
    return payload::jsonb;
exception when others then
    return jsonb_build_object('unreadable', payload::text);
end
$$;

create domain task_payload_binary as jsonb constraint task_payload_is_object check (jsonb_typeof(value) = 'object');

alter table tasks alter column payload drop default;
alter table tasks alter column payload type task_payload_binary using pg_temp.as_jsonb(payload);
alter table tasks alter column payload set default '{}';
drop domain task_payload;
alter domain task_payload_binary rename to task_payload;

alter table schedules drop constraint schedules_payload_check, alter column payload drop default;
alter table schedules alter column payload type jsonb using pg_temp.as_jsonb(payload);
alter table schedules
    alter column payload set default '{}',
    add constraint schedules_payload_check check (jsonb_typeof(payload) = 'object');
