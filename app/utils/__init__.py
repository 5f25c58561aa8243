"""Small tools that know nothing of the application: no module here imports another room."""
