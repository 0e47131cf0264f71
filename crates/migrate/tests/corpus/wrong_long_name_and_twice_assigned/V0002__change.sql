create index concurrently_made_index_with_a_name_that_postgresql_will_cut_off_here on orders (note);
update users set name = 'a', name = 'b' where id = 1;
