-- `diesel setup` makes a migration of this name where there is none, with helpers that nothing here uses.
select 1;
