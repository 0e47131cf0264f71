create function touch() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        new.status := 'changed';
    end if;
    return new;
end;
$$;
create trigger users_touch before update on users for each row execute function touch();
create type mood as enum ('sad', 'ok');
alter type mood add value 'happy';
create domain positive as int check (value > 0);
grant select on users to public;
alter table users enable row level security;
create policy everybody on users using (true);
