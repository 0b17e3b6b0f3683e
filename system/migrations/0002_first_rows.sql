-- The rows of the original system, with their ids. `workbench seed` adds the rest.

INSERT INTO tutors (id, name, subject, rating) VALUES (1, 'Alice', 'Math', 4.9), (2, 'Bob', 'Science', 4.7);

INSERT INTO students (id, name) VALUES (1, 'Student 1'), (2, 'Student 2');

-- The password is "password", published for everybody to log in with; the hash (argon2id) keeps no secret.
INSERT INTO users (username, password_hash, student_id) VALUES
    ('student1', '$argon2id$v=19$m=7168,t=5,p=1$dHV0b3Jpbmcgd29ya2Jlbg$6+YMPduMuR7GrCoHYT3TpzXmjNa3dDbmkhCLpjxXlSA', 1),
    ('student2', '$argon2id$v=19$m=7168,t=5,p=1$dHV0b3Jpbmcgd29ya2Jlbg$6+YMPduMuR7GrCoHYT3TpzXmjNa3dDbmkhCLpjxXlSA', 2);
