update users set status = 'seen';
