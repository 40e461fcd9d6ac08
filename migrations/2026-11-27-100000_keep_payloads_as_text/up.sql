set local lock_timeout = '5s';

-- `jsonb` writes numbers out: 1e308, five bytes, became 309 digits, and a number of the largest ones was read back as
-- infinity. `json` keeps the text that was sent. It has no operators that an index or a comparison would need; nothing here
-- compares payloads. The table is rewritten once, under a lock.
create domain task_payload_text as json constraint task_payload_is_object check (json_typeof(value) = 'object');

alter table tasks alter column payload drop default;
alter table tasks alter column payload type task_payload_text using payload::text::json;
alter table tasks alter column payload set default '{}';
drop domain task_payload;
alter domain task_payload_text rename to task_payload;

alter table schedules drop constraint schedules_payload_check, alter column payload drop default;
alter table schedules alter column payload type json using payload::text::json;
alter table schedules
    alter column payload set default '{}',
    add constraint schedules_payload_check check (json_typeof(payload) = 'object');
