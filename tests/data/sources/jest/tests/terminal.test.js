// Run alone (unit-control-chars.xml): the ESC and NUL of the message reach the report as raw bytes.
test('TC1008: colours are stripped', () => {
  throw new Error('got \u001b[31mred\u001b[0m and a NUL \u0000 byte');
});
test('plain text stays', () => expect('x').toBe('x'));
