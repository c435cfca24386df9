// A column header for each method of a table in the Summary.

export function MethodHeaders({ methods }: { methods: readonly { id: string; title: string }[] }) {
  return (
    <>
      {methods.map(({ id, title }) => (
        <th scope="col" key={id} title={title}>
          {title}
        </th>
      ))}
    </>
  );
}
