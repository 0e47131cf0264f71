drop table users;
drop function touch();
